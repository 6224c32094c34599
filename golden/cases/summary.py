"""The text of `model.summary()` for the programs of engraft's examples, at 256 by 256 pixels."""

import os

import keras
from keras import layers as L

import store

SIZE, CLASSES, HEAD, FROZEN = (256, 256, 3), 5, 4096, 15
# Terminal widths: Keras narrows its tables to fit. "wide" is wide enough for Keras' default line length.
TERMINALS = {"wide": 200, "80": 80}
VARIANTS = {
    "": {},
    "_nested": {"expand_nested": True},
    "_trainable": {"show_trainable": True},
    "_nested_trainable": {"expand_nested": True, "show_trainable": True},
}


def augmentation():
    return [L.RandomFlip("horizontal"), L.RandomRotation(0.1), L.RandomZoom(0.2)]


def vgg16(**arguments):
    return keras.applications.VGG16(include_top=False, weights=None, **arguments)


def head():
    dense = [L.Dense(HEAD, activation="relu"), L.Dense(HEAD, activation="relu")]
    return [L.Flatten(), *dense, L.Dense(CLASSES, activation="softmax")]


def functional(nested_augmentation=True):
    inputs = x = keras.Input(SIZE)
    for layer in [keras.Sequential(augmentation())] if nested_augmentation else augmentation():
        x = layer(x)
    base = vgg16(input_tensor=x)
    x = base.output
    for layer in head():
        x = layer(x)
    return keras.Model(inputs, x), base


def sequential():
    base = vgg16(input_shape=SIZE)
    return keras.Sequential([base, *head()]), base


def program1():
    return functional()


def program2():
    model, base = functional()
    for layer in base.layers:
        layer.trainable = False
    return model, base


def program3():
    model, base = functional()
    for layer in base.layers[:FROZEN]:
        layer.trainable = False
    return model, base


def program5():
    model, base = sequential()
    base.trainable = False
    return model, base


def program6():
    model, base = sequential()
    for layer in base.layers[:FROZEN]:
        layer.trainable = False
    return model, base


def program7():
    return functional(nested_augmentation=False)


def text(model, columns, **options):
    printed = []
    os.environ["COLUMNS"] = str(columns)
    # Keras calls print_fn once, with the complete table and its final line break.
    model.summary(print_fn=lambda table, **_: printed.append(table), **options)
    return "".join(printed)


def write(directory):
    entries = []
    for program in [program1, program2, program3, program5, program6, program7]:
        name = program.__name__
        keras.utils.clear_session()
        model, base = program()
        for variant, options in VARIANTS.items():
            for terminal, columns in TERMINALS.items():
                (directory / f"{name}{variant}_{terminal}.txt").write_text(text(model, columns, **options))
        entries.append(
            {
                "case": name,
                "total": store.count(model.weights),
                "trainable": store.count(model.trainable_weights),
                "non_trainable": store.count(model.non_trainable_weights),
                "base_layers": [layer.name for layer in base.layers],
            }
        )
    store.write_index(directory, entries)
