"""Computes golden values with Keras for the Rust tests. See README.md."""

import argparse
import importlib
import os
import pathlib
import shutil

FOLDERS = [
    "layers",
    "augment",
    "augmentation",
    "losses",
    "metrics",
    "optimizers",
    "schedules",
    "train",
    "fit",
    "models",
    "keras2",
    "refused",
    "vgg16",
    "mobilenet",
    "applications",
    "summary",
    "linear",
    "classes",
    "merging",
    "operations",
    "attention",
    "images",
    "stored",
    "outputs",
    "architecture_layers",
    "attention_models",
    "networks",
    "weight_files",
    "pretrained",
]
HERE = pathlib.Path(__file__).parent


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", default=FOLDERS, help=f"some of: {', '.join(FOLDERS)}")
    parser.add_argument("--output", type=pathlib.Path, default=HERE, help="output folder (default: this folder)")
    help_text = "folder with the files that vgg16, mobilenet and pretrained need (default: ../assets)"
    parser.add_argument("--assets", type=pathlib.Path, default=HERE.parent / "assets", help=help_text)
    arguments = parser.parse_args()
    unknown = set(arguments.folders) - set(FOLDERS)
    if unknown:
        parser.error(f"unknown folder {', '.join(sorted(unknown))}; expected some of {', '.join(FOLDERS)}")

    os.environ["GOLDEN_ASSETS"] = str(arguments.assets)
    make_reproducible()
    for folder in arguments.folders:
        directory = arguments.output / folder
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        reset_keras()
        importlib.import_module(f"cases.{folder}").write(directory)
        size = sum(file.stat().st_size for file in directory.iterdir())
        print(f"{folder}: {len(list(directory.iterdir()))} files, {size / 1000:.0f} kB")


def make_reproducible():
    """Makes TensorFlow deterministic: one thread and no oneDNN kernels keep the order of sums fixed."""
    os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.get_logger().setLevel("ERROR")


def reset_keras():
    """Resets seeds and automatic names, so that a folder's values don't depend on earlier folders."""
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)


if __name__ == "__main__":
    main()
