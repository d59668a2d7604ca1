"""The library as a distribution; the application (run.py, configs, training, evaluation) runs from a clone."""

from pathlib import Path

from setuptools import setup

setup(
    name="score-sde-toolkit",
    version="0.1.0",
    description="Score-based generative modelling through SDEs, checked against known truth",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    # One by one: find_packages would install configs, training, tests and others, whose names belong to users too.
    packages=[
        "sde_lib",
        "sde_lib.processes",
        "samplers",
        "samplers.predictors",
        "samplers.correctors",
        "likelihood",
        "models",
        "models.layers",
        "models.importers",
    ],
    package_data={name: ["py.typed"] for name in ("sde_lib", "samplers", "likelihood", "models")},
    install_requires=[
        "torch>=2.5",
        "numpy>=1.26",
        "scipy>=1.11",
        "torchsde>=0.2.6",
        "ml-collections>=1.0",
        "matplotlib>=3.8",
        "pillow>=10",
        "safetensors>=0.4.5",
        "tqdm>=4.66",
        "scikit-learn>=1.4",
    ],
    extras_require={
        "board": ["tensorboard>=2.14"],
        "files": ["h5py>=3.10", "zarr>=2.16"],
        "test": [
            *("pytest>=8", "pytest-xdist>=3.6", "ruff>=0.9", "mypy>=1.14"),
            *("h5py>=3.10", "zarr>=2.16", "tensorboard>=2.14", "diffusers>=0.32"),
        ],
        "metrics": ["diffusers>=0.32", "torchdiffeq>=0.2.4"],
    },
)
