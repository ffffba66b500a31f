"""The one folder that names a backend: compiled programs and steps, start-up, and many devices."""
