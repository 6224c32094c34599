"""Attention, embeddings and other products of tensors, forward and backward, on small and odd shapes."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L

import store

SEQUENCE = (2, 5, 6)
# Arguments of the call by case. The index has them among the options of the layer.
CALLS = {}


def causal(name):
    CALLS[name] = {"use_causal_mask": True}
    return name


def multi_head():
    yield "multi_head_attention", L.MultiHeadAttention(2, 3), [SEQUENCE] * 2
    yield "multi_head_attention_cross", L.MultiHeadAttention(3, 4, value_dim=2), [(2, 4, 5), (2, 7, 3)]
    yield "multi_head_attention_key", L.MultiHeadAttention(2, 3, use_bias=False), [(2, 4, 5), (2, 6, 3), (2, 6, 2)]
    yield "multi_head_attention_one_head", L.MultiHeadAttention(1, 4, output_shape=3), [SEQUENCE] * 2
    yield "multi_head_attention_output_shape", L.MultiHeadAttention(2, 3, output_shape=(2, 4)), [SEQUENCE] * 2
    yield "multi_head_attention_dropout", L.MultiHeadAttention(2, 3, dropout=0.4), [SEQUENCE] * 2
    yield "multi_head_attention_gate", L.MultiHeadAttention(2, 3, value_dim=4, use_gate=True), [SEQUENCE] * 2
    yield "multi_head_attention_images", L.MultiHeadAttention(2, 3), [(2, 3, 4, 5), (2, 2, 3, 5)]
    yield "multi_head_attention_axis", L.MultiHeadAttention(2, 3, attention_axes=2), [(2, 3, 4, 5), (2, 3, 5, 4)]
    yield "multi_head_attention_axes", L.MultiHeadAttention(2, 3, attention_axes=(1, 3)), [(2, 2, 3, 4, 5)] * 2
    yield causal("multi_head_attention_causal"), L.MultiHeadAttention(2, 3), [SEQUENCE] * 2
    yield causal("multi_head_attention_causal_cross"), L.MultiHeadAttention(2, 3), [(2, 3, 5), (2, 5, 5)]
    yield causal("multi_head_attention_causal_dropout"), L.MultiHeadAttention(2, 3, dropout=0.4), [SEQUENCE] * 2
    yield "multi_head_attention_window", L.MultiHeadAttention(2, 3, sliding_window=2), [SEQUENCE] * 2
    # The last queries have no key in their window.
    yield "multi_head_attention_window_alone", L.MultiHeadAttention(2, 3, sliding_window=2), [SEQUENCE, (2, 2, 6)]
    yield "multi_head_attention_alone_dropout", L.MultiHeadAttention(2, 3, dropout=0.1, sliding_window=2), [SEQUENCE, (2, 2, 6)]
    name = "multi_head_attention_mask"
    mask = np.array([[[1, 0, 1, 1, 0], [0, 1, 0, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1], [1, 0, 0, 1, 0]]], bool)
    CALLS[name] = {"attention_mask": mask}
    yield name, L.MultiHeadAttention(2, 3), [SEQUENCE] * 2


def other_attention():
    yield "group_query_attention", L.GroupQueryAttention(3, 4, 2), [SEQUENCE] * 2
    yield "group_query_attention_key", L.GroupQueryAttention(2, 6, 2, use_bias=False), [(2, 4, 5), (2, 6, 3), (2, 6, 2)]
    yield "group_query_attention_gate", L.GroupQueryAttention(3, 4, 1, use_gate=True, dropout=0.2), [SEQUENCE] * 2
    yield causal("group_query_attention_causal"), L.GroupQueryAttention(3, 2, 2, sliding_window=3), [SEQUENCE] * 2
    yield "attention", L.Attention(), [SEQUENCE] * 2
    yield "attention_key", L.Attention(dropout=0.3), [(2, 4, 3), (2, 6, 5), (2, 6, 3)]
    yield "attention_scale", L.Attention(use_scale=True), [SEQUENCE] * 2
    yield "attention_concat", L.Attention(score_mode="concat"), [(2, 4, 3), (2, 6, 5), (2, 6, 3)]
    yield "attention_concat_scale", L.Attention(use_scale=True, score_mode="concat"), [SEQUENCE] * 2
    yield causal("attention_causal"), L.Attention(), [SEQUENCE] * 2
    yield "additive_attention", L.AdditiveAttention(), [SEQUENCE] * 2
    yield "additive_attention_no_scale", L.AdditiveAttention(use_scale=False), [(2, 4, 3), (2, 6, 5), (2, 6, 3)]
    yield causal("additive_attention_causal"), L.AdditiveAttention(), [(2, 3, 4), (2, 5, 4)]


def products():
    for name, equation, output_shape, bias_axes, shape in [
        ("last_axis", "abc,cd->abd", (None, 4), "d", SEQUENCE),
        ("ellipsis", "...x,xy->...y", 4, "y", (2, 3, 4, 5)),
        ("ellipsis_right", "ab...,bc->ac...", 4, "c", (2, 3, 4, 5)),
        ("heads", "abc,cde->abde", (None, 2, 3), "de", SEQUENCE),
        ("two_axes", "abcd,cde->abe", (None, 4), None, (2, 3, 4, 5)),
        ("tokens", "abc,bd->adc", (4, 6), "d", SEQUENCE),
        ("transposed_kernel", "abc,dc->abd", (None, 4), "d", SEQUENCE),
        ("for_each_head", "abcd,cde->abce", (None, 4, 3), "ce", (2, 3, 4, 5)),
        ("bias_of_positions", "abc,cd->abd", (5, 4), "bd", SEQUENCE),
        ("bias_of_one_axis", "abc,cd->abd", (5, 4), "b", SEQUENCE),
        ("vector", "ab,bc->ac", 4, "c", (3, 5)),
    ]:
        yield f"einsum_dense_{name}", L.EinsumDense(equation, output_shape, "relu", bias_axes), [shape]
    yield "embedding_integers", L.Embedding(7, 3), [(2, 5)]
    yield "embedding_images_integers", L.Embedding(4, 2), [(2, 3, 4)]
    for kind, layer in [("average", L.GlobalAveragePooling1D), ("max", L.GlobalMaxPooling1D)]:
        yield f"global_{kind}_pooling1d", layer(), [SEQUENCE]
        yield f"global_{kind}_pooling1d_keepdims", layer(keepdims=True), [SEQUENCE]
        yield f"global_{kind}_pooling1d_channels_first", layer(data_format="channels_first"), [SEQUENCE]
        yield f"global_{kind}_pooling1d_both", layer("channels_first", True), [SEQUENCE]


def call(layer, inputs, **options):
    """Calls an attention layer of several heads on separate tensors, and any other layer on a list."""
    if isinstance(layer, (L.MultiHeadAttention, L.GroupQueryAttention)):
        return layer(*inputs, **options)
    return layer(inputs if len(inputs) > 1 else inputs[0], **options)


def evaluate(name, layer, shapes):
    layer.name = name
    random = store.generator(name)
    integers = name.endswith("integers")
    draw = (lambda shape: random.integers(0, layer.input_dim, shape)) if integers else random.standard_normal
    inputs = [tf.constant(np.asarray(draw(shape), "float32")) for shape in shapes]
    options = CALLS.get(name, {})
    call(layer, inputs, **options)
    layer.set_weights([random.standard_normal(w.shape) * 0.5 for w in layer.weights])
    trainable = [w.value for w in layer.trainable_weights]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = call(layer, inputs, training=False, **options) if options or len(inputs) > 1 else layer(inputs[0])
        upstream = random.standard_normal(y.shape).astype("float32")
        objective = tf.reduce_sum(y * upstream)
    zero = tf.UnconnectedGradients.ZERO
    input_gradients, weight_gradients = tape.gradient(objective, [inputs, trainable], unconnected_gradients=zero)
    weight_gradients = [tf.convert_to_tensor(gradient) for gradient in weight_gradients]

    case = store.Case()
    serialized = store.serialize(layer)
    for option, value in options.items():
        serialized["config"][option] = keras.saving.serialize_keras_object(value)
    names = {id(w): f"w{i}" for i, w in enumerate(layer.weights)}
    entry = {
        "case": name,
        "layer": serialized,
        "inputs": case.put_all("x", inputs),
        "weights": case.put_all("w", layer.get_weights()),
        "training": False,
        "output": case.put("y", y),
        "upstream": case.put("dy", upstream),
        "input_gradients": case.put_all("dx", input_gradients),
        "weight_gradients": {
            names[id(w)]: case.put(f"d{names[id(w)]}", gradient)
            for w, gradient in zip(layer.trainable_weights, weight_gradients)
        },
        "new_weights": {},
    }
    return entry, case


def write(directory):
    entries = []
    for cases in [multi_head, other_attention, products]:
        for name, layer, shapes in cases():
            entry, case = evaluate(name, layer, shapes)
            store.write_npz(directory / f"{name}.npz", case)
            entries.append(entry)
    store.write_index(directory, entries)
