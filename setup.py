"""What pyproject.toml cannot say: packages found under compiler/, plus two that are mapped from other folders."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages("compiler"), "mcuc_runtime", "mcuc_targets"],
    package_dir={"": "compiler", "mcuc_runtime": "runtime_c", "mcuc_targets": "targets"},
)
