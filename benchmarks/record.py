"""What every record of a measurement says of its surroundings."""

import datetime
import importlib.metadata
import os
import platform


def versions(*modules: str) -> str:
    """The installed version of each module, whatever its distribution is called."""
    distributions = importlib.metadata.packages_distributions()
    return ", ".join(f"{name} {importlib.metadata.version(distributions[name][0])}" for name in modules)


def surroundings(*modules: str) -> str:
    """Date, processor, Python and the versions of `modules`."""
    machine = f"{os.cpu_count()} cores {platform.machine()}"
    return f"{datetime.date.today()}, {machine}, no GPU, Python {platform.python_version()}, {versions(*modules)}"
