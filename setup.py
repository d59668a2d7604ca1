"""The distribution: the library (sde_lib, samplers, likelihood, models), its configs, and the program score-sde."""

import ast
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
ABOUT = ast.parse((HERE / "score_sde" / "__init__.py").read_text(encoding="utf-8"))
VERSION = next(ast.literal_eval(n.value) for n in ABOUT.body if isinstance(n, ast.Assign) and n.targets[0].id == "__version__")

setup(
    name="score-sde-toolkit",
    version=VERSION,
    description="Score-based generative modelling through SDEs in PyTorch, checked against distributions whose truth is known",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The score-sde-toolkit authors",
    project_urls={"Method": "https://arxiv.org/abs/2011.13456", "Likelihoods": "https://arxiv.org/abs/2101.09258"},
    license="MIT",
    license_files=["LICENSE"],
    keywords=["score-based models", "diffusion models", "stochastic differential equations", "likelihood", "PyTorch"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Mathematics",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    # One by one: find_packages would install tests, benchmarks and others, whose names belong to users too.
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
        "configs",
        "configs.presets",
        "score_sde",
        "score_sde.commands",
        "score_sde.config",
        "score_sde.data",
        "score_sde.evaluation",
        "score_sde.runs",
        "score_sde.training",
    ],
    package_data={name: ["py.typed"] for name in ("sde_lib", "samplers", "likelihood", "models", "configs", "score_sde")},
    entry_points={"console_scripts": ["score-sde = score_sde.command_line:main"]},
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
            *("pytest>=8", "pytest-xdist>=3.6", "ruff>=0.9", "mypy>=1.14", "build>=1.2", "twine>=6"),
            *("h5py>=3.10", "zarr>=2.16", "tensorboard>=2.14", "diffusers>=0.32"),
        ],
        "metrics": ["diffusers>=0.32", "torchdiffeq>=0.2.4"],
    },
)
