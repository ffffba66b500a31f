"""Any application over files of any size, by Apache Beam: on all cores of a machine, or on a cluster."""
