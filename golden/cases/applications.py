"""Layer names that identify the networks of `keras.applications`, and the last layers before their tops."""

import keras

import store

# Layers that the table in crates/engraft/src/recipe/base/known_networks.rs looks for.
LANDMARKS = """
block1_conv1 block3_conv3 block5_conv3 block5_pool
conv1_conv conv1_bn conv2_block1_0_bn conv2_block1_out conv5_block3_out
conv2_block1_preact_bn post_bn post_relu
conv2_block1_concat pool4_conv bn relu
conv1 conv_dw_1 conv_pw_1 conv_pw_13_relu
Conv1 expanded_conv_depthwise block_16_project out_relu
conv expanded_conv_project conv_1 conv_1_bn
stem_conv block1a_dwconv block1a_se_reduce block7a_project_conv block1a_project_activation top_conv top_activation
block2_sepconv1 block14_sepconv2 block14_sepconv2_act
mixed0 mixed8 mixed9_1 mixed10
mixed_5b block35_1_conv conv_7b conv_7b_ac
stem_conv1 reduction_concat_reduce_4 normal_concat_12 reduction_concat_reduce_6 normal_concat_18
""".split()
LANDMARKS += [f"convnext_{size}_stem" for size in ["tiny", "small", "base", "large", "xlarge"]]
LANDMARKS += [f"convnext_{size}_stage_3_block_2_identity" for size in ["tiny", "small", "base", "large", "xlarge"]]


def build(network, include_top):
    keras.utils.clear_session()
    # Only names are needed, so weights aren't initialized.
    with keras.StatelessScope(initialize_variables=False):
        return network(weights=None, include_top=include_top)


def write(directory):
    entries = []
    for name, network in sorted(vars(keras.applications).items()):
        if not callable(network) or not name[0].isupper():
            continue
        bare = build(network, include_top=False)
        trainable = [layer.name for layer in bare.layers if any(weight.trainable for weight in layer.weights)]
        names = [layer.name for layer in bare.layers]
        entry = {"case": name, "first": trainable[0], "last": names[-2:]}
        entry["without_top"] = [name for name in names if name in LANDMARKS]
        with_top = [layer.name for layer in build(network, include_top=True).layers]
        entry["with_top"] = [name for name in with_top if name in LANDMARKS]
        entries.append(entry)
    store.write_index(directory, entries)
