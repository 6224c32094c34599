"""Models with attention, as users write them in Keras: files, and predictions for three images."""

import keras
from keras import layers as L
from keras import ops

from cases import models


PATCHES = 9


def patches(width=12):
    """The input, and its patches of 4 x 4 pixels as vectors."""
    x = L.Input(models.SHAPE)
    y = L.Rescaling(1 / 127.5, offset=-1)(x)
    y = L.Conv2D(width, 4, strides=4)(y)
    return x, L.Reshape((PATCHES, width))(y)


def classifier(x, y):
    return keras.Model(x, L.Dense(3, activation="softmax")(L.GlobalAveragePooling1D()(y)))


def vision_transformer():
    x, y = patches()
    for options in [{}, {"value_dim": 5, "use_bias": False}]:
        normalized = L.BatchNormalization()(y)
        attended = L.MultiHeadAttention(3, 4, dropout=0.1, **options)(normalized, normalized)
        y = L.Add()([y, attended])
        hidden = L.Dense(24, activation="gelu")(L.BatchNormalization()(y))
        y = L.Add()([y, L.Dense(12)(L.Dropout(0.1)(hidden))])
    return classifier(x, y)


def attention_arguments():
    """Arguments by name, masks, and a layer that is called twice."""
    x, y = patches()
    causal = L.MultiHeadAttention(2, 3, use_gate=True, name="causal")
    z = causal(query=y, value=y, key=y, use_causal_mask=True)
    z = causal(query=z, value=y, key=z, use_causal_mask=True)
    mask = [[[row % 3 != column % 3 or row == column for column in range(PATCHES)] for row in range(PATCHES)]]
    z = L.MultiHeadAttention(2, 3)(z, y, attention_mask=ops.convert_to_tensor(mask))
    z = L.GroupQueryAttention(3, 4, 2)(z, z)
    z = L.Add()([L.Attention(use_scale=True, score_mode="concat")([z, y]), L.AdditiveAttention()([z, y])])
    return classifier(x, z)


def attention_block():
    """A nested model that is called twice."""
    inner = L.Input((PATCHES, 12))
    block = keras.Model(inner, L.Add()([inner, L.MultiHeadAttention(2, 6)(inner, inner)]), name="block")
    x, y = patches()
    return classifier(x, block(block(y)))


def mlp_mixer():
    x, y = patches()
    mixed = L.Permute((2, 1))(L.BatchNormalization()(y))
    mixed = L.Dense(PATCHES)(L.Dense(8, activation="gelu")(mixed))
    y = L.Add()([y, L.Permute((2, 1))(mixed)])
    y = L.Add()([y, L.EinsumDense("abc,bd->adc", (PATCHES, 12), bias_axes="d", activation="gelu")(y)])
    return classifier(x, L.EinsumDense("abc,dc->abd", (PATCHES, 12), bias_axes="d")(y))


def feature_map_attention():
    """Self-attention over the pixels of a feature map, by operations on tensors."""
    x = L.Input(models.SHAPE)
    y = L.Conv2D(8, 3, strides=4, activation="relu")(L.Rescaling(1 / 255)(x))
    query, key, value = [L.Reshape((-1, 4))(L.Conv2D(4, 1)(y)) for _ in range(3)]
    weights = L.Softmax()(ops.matmul(query, L.Permute((2, 1))(key)))
    attended = ops.einsum("bij,bjc->bic", weights, value)
    heads = L.Reshape((-1, 2, 2))(attended)
    heads = ops.dot_product_attention(heads, heads, heads, is_causal=True)
    attended = L.Conv2D(8, 1)(L.Reshape((*y.shape[1:3], 4))(heads))
    return keras.Model(x, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(L.Add()([y, attended]))))


BUILDERS = [vision_transformer, attention_arguments, attention_block, mlp_mixer, feature_map_attention]


def write(directory):
    models.write(directory, BUILDERS, [vision_transformer])
