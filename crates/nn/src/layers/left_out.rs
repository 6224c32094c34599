//! The layer classes of Keras that are left out, and why.

/// Why a class of Keras is left out; `None` for other classes.
///
/// ```
/// use engraft_nn::layers::why_left_out;
/// assert_eq!(why_left_out("LSTM"), Some("recurrent layers work on sequences"));
/// assert_eq!(why_left_out("Conv2D"), None);
/// ```
pub fn why_left_out(class_name: &str) -> Option<&'static str> {
    LEFT_OUT.iter().find(|(classes, _)| classes.contains(&class_name)).map(|(_, why)| *why)
}

/// What a class of a package beside Keras is, and what to do in its place; `None` for other classes.
pub(super) fn of_other_package(class_name: &str) -> Option<(&'static str, &'static str)> {
    let known = OTHER_PACKAGES.iter().find(|(classes, ..)| classes.contains(&class_name));
    known.map(|&(_, what, instead)| (what, instead))
}

/// Classes of TensorFlow Hub and of the Model Optimization Toolkit, which people save without noticing.
const OTHER_PACKAGES: &[(&[&str], &str, &str)] = &[
    (
        &["KerasLayer"],
        "this layer of TensorFlow Hub holds a network as a SavedModel, which isn't in the file",
        "build the model on a network of keras.applications, and train its head again",
    ),
    (
        &["PruneLowMagnitude"],
        "this layer wraps one that is being pruned",
        "in Python, tfmot.sparsity.keras.strip_pruning(model) gives the model alone: save that",
    ),
    (
        &["ClusterWeights"],
        "this layer wraps one whose weights are being clustered",
        "in Python, tfmot.clustering.keras.strip_clustering(model) gives the model alone: save that",
    ),
    (
        &["QuantizeAnnotate", "QuantizeLayer", "QuantizeWrapper", "QuantizeWrapperV2"],
        "this layer belongs to training for quantization",
        "save the model before quantize_model, and its weights in f32",
    ),
];

/// Classes, and the reason that they share.
const LEFT_OUT: &[(&[&str], &str)] = &[
    (
        &[
            "AdaptiveAveragePooling1D",
            "AdaptiveMaxPooling1D",
            "AveragePooling1D",
            "Conv1D",
            "Conv1DTranspose",
            "Cropping1D",
            "DepthwiseConv1D",
            "MaxPooling1D",
            "SeparableConv1D",
            "UpSampling1D",
            "ZeroPadding1D",
        ],
        "windows along one axis are for sequences and sound",
    ),
    (
        &[
            "AdaptiveAveragePooling3D",
            "AdaptiveMaxPooling3D",
            "AveragePooling3D",
            "Conv3D",
            "Conv3DTranspose",
            "Cropping3D",
            "GlobalAveragePooling3D",
            "GlobalMaxPooling3D",
            "MaxPooling3D",
            "UpSampling3D",
            "ZeroPadding3D",
        ],
        "three spatial axes are for volumes and video",
    ),
    (
        &[
            "Bidirectional",
            "ConvLSTM1D",
            "ConvLSTM2D",
            "ConvLSTM3D",
            "GRU",
            "GRUCell",
            "LSTM",
            "LSTMCell",
            "RNN",
            "SimpleRNN",
            "SimpleRNNCell",
            "StackedRNNCells",
        ],
        "recurrent layers work on sequences",
    ),
    (&["TimeDistributed", "Masking"], "steps of time are for sequences and video"),
    (
        &["Hashing", "HashedCrossing", "IntegerLookup", "ReversibleEmbedding", "StringLookup", "TextVectorization"],
        "text and categories are no photos",
    ),
    (&["CategoryEncoding", "Discretization"], "columns of tables are no photos"),
    (&["MelSpectrogram", "STFTSpectrogram"], "sound is no photo"),
    (
        &["ContrastLimitedAdaptiveHistogramEqualization"],
        "it changes images in prediction, too, and is not implemented; equalize the photos before",
    ),
    (
        &["FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"],
        "it holds the code of another framework, which is never run here",
    ),
    (&["Lambda"], "it holds Python code, which is never run here"),
    (&["InputSpec", "Layer", "Wrapper"], "it computes nothing: other classes derive from it"),
];
