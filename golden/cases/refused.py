"""Model files that Keras can load and engraft doesn't support. Engraft must reject each and name the reason."""

import keras
from keras import layers as L

import store
from cases.programs import SHAPE


# A Lambda's bytecode contains the path of its source file. A fixed file name makes the bytes reproducible.
scale = eval(compile("lambda x: x / 255", "program.py", "eval"))


@keras.saving.register_keras_serializable("golden")
class Scale(L.Layer):
    def call(self, x):
        return x / 255


@keras.saving.register_keras_serializable("golden")
def twice(x):
    return 2 * x


@keras.saving.register_keras_serializable("golden")
class Classifier(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.top = L.Dense(3, name="top")

    def call(self, x):
        return self.top(x)


def between(*layers):
    """A model of these layers between an input and a classification head."""
    return keras.Sequential([keras.Input(SHAPE), *layers, L.GlobalAveragePooling2D(), L.Dense(3, name="top")])


def lambda_layer():
    return between(L.Lambda(scale, name="scale"))


def lambda_in_nested():
    return between(keras.Sequential([L.Lambda(scale, name="scale")], name="inner"))


def custom_layer():
    return between(Scale(name="scale"))


def custom_activation():
    return between(L.Conv2D(3, 3, activation=twice, name="conv"))


def custom_model():
    model = Classifier(name="mine")
    model.build((None, 4))
    return model


def unknown_layer():
    return between(L.Masking(name="mask"))


def unknown_layer_in_functional():
    inputs = keras.Input(SHAPE)
    x = L.ConvLSTM1D(2, 3, name="rows")(L.Conv2D(3, 3)(inputs))
    return keras.Model(inputs, L.Dense(3)(L.Flatten()(x)))


def unknown_activation():
    return between(L.Conv2D(4, 3, activation="glu", name="conv"))


def unknown_operation():
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, L.Dense(3)(L.Flatten()(keras.ops.cumsum(inputs, axis=1))))


def four_bits():
    model = keras.Sequential([keras.Input((8,)), L.Dense(4, name="hidden"), L.Dense(3, name="top")])
    model.quantize("int4")
    return model


def attention(mode):
    inputs = keras.Input((6, 4))
    model = keras.Model(inputs, L.MultiHeadAttention(2, 3, name="attention")(inputs, inputs))
    model.quantize(mode)
    return model


def four_bits_in_attention():
    return attention("int4")


def eight_bit_floats_in_attention():
    return attention("float8")


BUILDERS = [
    lambda_layer,
    lambda_in_nested,
    custom_layer,
    custom_activation,
    custom_model,
    unknown_layer,
    unknown_layer_in_functional,
    unknown_activation,
    unknown_operation,
    four_bits,
    four_bits_in_attention,
    eight_bit_floats_in_attention,
]
# File formats of each case; both by default. Keras can't write an .h5 of a custom model class, or read one with an operation.
ENDINGS = {"custom_model": ["keras"], "unknown_operation": ["keras"]}


def write(directory):
    entries = []
    for builder in BUILDERS:
        keras.utils.clear_session()
        keras.utils.set_random_seed(3)
        model = builder()
        endings = ENDINGS.get(builder.__name__, ["keras", "h5"])
        for ending in endings:
            with store.reproducible_saving():
                model.save(directory / f"{builder.__name__}.{ending}")
        entries.append({"case": builder.__name__, "files": [f"{builder.__name__}.{ending}" for ending in endings]})
    store.write_index(directory, entries)
