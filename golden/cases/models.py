"""Model files written by Keras, with the models' predictions."""

import keras
import numpy as np
from keras import layers as L
from keras import ops

import store
from cases import programs
from cases.programs import SHAPE


def sequential():
    layers = [
        L.InputLayer(shape=SHAPE),
        L.Conv2D(4, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(3, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def functional():
    inputs = keras.Input(SHAPE)
    x = L.Conv2D(4, 3, strides=2, padding="same", activation="relu")(inputs)
    x = L.Conv2D(6, 3, padding="same", activation="relu")(x)
    x = L.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, L.Dense(3, activation="softmax")(x))
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    return model


def backbone():
    inputs = keras.Input(SHAPE)
    x = L.Conv2D(4, 3, padding="same", activation="relu", name="block1_conv1")(inputs)
    x = L.MaxPooling2D(name="block1_pool")(x)
    x = L.Conv2D(5, 3, padding="same", activation="relu", name="block2_conv1")(x)
    return keras.Model(inputs, L.MaxPooling2D(name="block2_pool")(x), name="backbone")


def functional_in_sequential():
    base = backbone()
    base.trainable = False
    head = [L.Flatten(), L.Dense(8, activation="relu"), L.Dense(3, activation="softmax")]
    model = keras.Sequential([base, *head])
    model.compile(keras.optimizers.RMSprop(1e-4), "categorical_crossentropy", metrics=["accuracy"])
    return model


def sequential_in_functional():
    features = keras.Sequential([L.Conv2D(4, 3, activation="relu"), L.AveragePooling2D(2), L.Conv2D(5, 3)])
    inputs = keras.Input(SHAPE)
    x = L.GlobalMaxPooling2D()(features(inputs))
    return keras.Model(inputs, L.Dense(3, activation="softmax")(x))


def augmentation():
    augment = keras.Sequential(
        [L.RandomFlip("horizontal"), L.RandomRotation(0.1), L.RandomZoom(0.2, fill_mode="nearest")], name="augment"
    )
    inputs = keras.Input(SHAPE)
    x = L.Rescaling(1 / 255)(augment(inputs))
    x = backbone()(x, training=False)
    x = L.Dropout(0.3)(L.Flatten()(x))
    model = keras.Model(inputs, L.Dense(3, activation="softmax")(x))
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.01), "categorical_crossentropy", metrics=["accuracy"])
    return model


def batch_normalization():
    layers = [
        keras.Input(SHAPE),
        L.Rescaling(1 / 127.5, offset=-1),
        L.ZeroPadding2D(((0, 1), (0, 1))),
        L.Conv2D(4, 3, strides=2, use_bias=False),
        L.BatchNormalization(momentum=0.9),
        L.ReLU(max_value=6),
        L.Dropout(0.2),
        L.Flatten(),
        L.Dense(3),
        L.Activation("softmax"),
    ]
    return keras.Sequential(layers)


def residual():
    inputs = keras.Input(SHAPE)
    x = L.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    branch = L.Conv2D(4, 3, padding="same")(x)
    branch = L.BatchNormalization()(branch)
    x = L.Activation("relu")(L.Add()([x, branch]))
    left = L.Conv2D(3, 1, strides=2, activation="relu")(x)
    right = L.MaxPooling2D()(x)
    x = L.GlobalAveragePooling2D()(L.Concatenate()([left, right]))
    return keras.Model(inputs, L.Dense(3, activation="softmax")(x))


def shared_layer():
    inputs = keras.Input(SHAPE)
    shared = L.Conv2D(4, 3, padding="same", activation="relu", name="shared")
    near = shared(L.Conv2D(4, 1, name="near")(inputs))
    far = shared(L.Conv2D(4, 3, padding="same", dilation_rate=2, name="far")(inputs))
    x = L.GlobalAveragePooling2D()(L.add([near, far]))
    return keras.Model(inputs, L.Dense(1, activation="sigmoid")(x))


def adapted():
    normalization = L.Normalization()
    normalization.adapt(images(store.generator("adapted")))
    layers = [keras.Input((None, None, 3)), L.Resizing(*SHAPE[:2]), normalization]
    return keras.Sequential([*layers, L.Conv2D(4, 3, activation="relu"), L.GlobalAveragePooling2D(), L.Dense(3)])


def lists():
    """Operations that return lists of tensors, of which some aren't used."""
    inputs = keras.Input(SHAPE)
    x = L.Conv2D(6, 3)(L.Rescaling(1 / 255)(inputs))
    first, _, third = ops.split(x, 3, axis=-1)
    left, right = ops.split(first * third, [5], axis=2)
    rows = ops.unstack(L.Concatenate(axis=2)([right, left]), axis=1)
    x = L.GlobalAveragePooling1D()(L.Add()([rows[0], rows[2]]))
    return keras.Model(inputs, L.Dense(3, activation="softmax")(x))


def pixels():
    """Images of uint8, of which Keras computes integers: it rounds, and cuts off what it converts to an input of integers."""
    image = keras.Input(SHAPE, dtype="uint8")
    smaller = ops.image.resize(image, (7, 9), interpolation="bicubic")
    larger = L.UpSampling2D(2, interpolation="bilinear")(255 - image)
    parts = [L.Flatten()(smaller), L.Flatten()(L.MaxPooling2D(5)(larger))]
    base = keras.Model(image, L.Concatenate()(parts), name="integers")
    inputs = keras.Input(SHAPE, dtype="uint8")
    gray = ops.image.rgb_to_grayscale(ops.image.resize(inputs, (8, 8)))
    x = L.Concatenate()([base(ops.cast(inputs, "float32") * 0.7), L.Flatten()(gray)])
    return keras.Model(inputs, L.Dense(3, activation="softmax")(L.Rescaling(1 / 255)(x)))


def trained():
    model = functional()
    model.compile(keras.optimizers.Adam(1e-3), "categorical_crossentropy", metrics=["accuracy"])
    random = store.generator("trained")
    model.fit(inputs_for(model, random), np.eye(3, dtype="float32"), epochs=1, verbose=0, shuffle=False)
    return model


BUILDERS = [
    sequential,
    functional,
    functional_in_sequential,
    sequential_in_functional,
    augmentation,
    batch_normalization,
    residual,
    shared_layer,
    adapted,
    lists,
    pixels,
    trained,
    *programs.BUILDERS,
]
# Models that keep their trained weights. The weights of all others are set to random values.
TRAINED = [trained, *programs.TRAINED]


def images(random):
    """Three images of integers from 0 to 255."""
    return random.integers(0, 256, (3, *SHAPE)).astype("float32")


def operations(model):
    """The operations of a functional model that aren't layers, such as those of `preprocess_input`."""
    return [part for part in getattr(model, "operations", []) if not isinstance(part, L.Layer)]


def inputs_for(model, random):
    """Images in the range that the model expects. Other images would saturate the softmax and hide errors."""
    scaled = any(isinstance(layer, (L.Rescaling, L.Normalization)) for layer in model._flatten_layers())
    scaled = scaled or operations(model)
    return images(random) if scaled else images(random) / 255


def build(builder):
    """Builds the model with reset automatic names and, unless it is trained, with random weights."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(2)
    model = builder()
    if builder not in TRAINED:
        store.randomize(model, store.generator(builder.__name__))
    return model


def predict(model, x, case):
    """Adds the predictions to the case. Returns the array's name, or a list of names for several outputs."""
    y = model.predict(x, verbose=0)
    return case.put_all("y", y) if isinstance(y, list) else case.put("y", y)


def write(directory, builders=BUILDERS, with_weights_file=(functional, augmentation)):
    entries = []

    def add(name, model, file, **more):
        case = store.Case()
        x = inputs_for(model, store.generator(name))
        entry = {
            "case": name,
            "file": file,
            **more,
            "x": case.put("x", x),
            "y": predict(model, x, case),
            "parameters": store.count(model.weights),
            "trainable_parameters": store.count(model.trainable_weights),
        }
        store.write_npz(directory / f"{name}.npz", case)
        entries.append(entry)

    for builder in builders:
        name = builder.__name__
        model = build(builder)
        with store.reproducible_saving():
            model.save(directory / f"{name}.keras")
        add(name, model, f"{name}.keras", weights_file=None)
    for builder in builders:  # Keras' older HDF5 format
        name = builder.__name__
        model = build(builder)
        if operations(model):  # Keras writes .h5 files with operations, but can't read them
            continue
        with store.reproducible_saving():
            model.save(directory / f"{name}.h5")
        add(f"{name}_h5", model, f"{name}.h5", weights_file=None)
    for builder in with_weights_file:
        name = builder.__name__
        model = build(builder)
        # The weights differ from those in the .keras file, so that loading them changes the predictions.
        store.randomize(model, store.generator(f"{name}_weights"))
        model.save_weights(directory / f"{name}.weights.h5")
        add(f"{name}_weights", model, f"{name}.keras", weights_file=f"{name}.weights.h5")
    store.write_index(directory, entries)
