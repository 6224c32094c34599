//! The modules of PyTorch state dicts by the names of Keras' layers: of timm's networks and of `efficientnet-lite-pytorch`.

/// The library whose networks have tensors of this name, if it is one of the first of a network.
pub(super) fn library(name: &str) -> Option<&'static str> {
    let begins = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    if begins(&["_conv_stem.", "_blocks."]) {
        Some("efficientnet-lite-pytorch")
    } else if begins(&["conv_stem.", "blocks.", "stem.", "stages."]) {
        Some("timm")
    } else if begins(&["features.", "layer1."]) || name == "conv1.weight" {
        Some("torchvision")
    } else {
        None
    }
}

/// The name here of the ResNet of torchvision whose tensors have these names.
pub(super) fn torchvision_resnet(names: &[String]) -> Option<&'static str> {
    let has = |module: &str| names.iter().any(|name| name == &format!("{module}.weight"));
    match (has("layer1.0.conv1"), has("layer1.0.conv3"), has("layer3.5.conv1"), has("layer3.6.conv1")) {
        (true, true, true, false) => Some("resnet50-torchvision"),
        (true, false, true, false) => Some("resnet34"),
        (true, false, false, false) => Some("resnet18"),
        _ => None,
    }
}

/// What weights for a network here are taken for, where timm has two of the same names and shapes. Only the `tf_` ones pad and
/// normalize as Keras' networks do.
pub(super) fn taken_for(architecture: &str) -> Option<String> {
    let timm = match architecture {
        "mobilenet-v3-large" => "mobilenetv3_large_100".to_owned(),
        "mobilenet-v3-small" => "mobilenetv3_small_100".to_owned(),
        name if name.starts_with("efficientnet-b") => name.replace('-', "_"),
        _ => return None,
    };
    Some(format!(
        "weights of timm's tf_{timm}; {timm} has the same names, but pads and normalizes otherwise, so that its features would be wrong"
    ))
}

/// timm's `tf_efficientnet_b0` to `b7`: `block2a_dwconv` is `blocks.1.0.conv_dw`.
pub(super) fn efficientnet(layer: &str) -> Option<String> {
    let whole = match layer {
        "stem_conv" => "conv_stem",
        "stem_bn" => "bn1",
        "top_conv" => "conv_head",
        "top_bn" => "bn2",
        "predictions" => "classifier",
        _ => "",
    };
    if !whole.is_empty() {
        return Some(whole.to_owned());
    }
    let (stage, block, part) = stage_and_block(layer)?;
    let part = match part {
        "dwconv" => "conv_dw",
        "se_reduce" => "se.conv_reduce",
        "se_expand" => "se.conv_expand",
        // The blocks of the first stage don't expand, so that their modules have other numbers.
        "bn" if stage == 0 => "bn1",
        "project_conv" if stage == 0 => "conv_pw",
        "project_bn" if stage == 0 => "bn2",
        "expand_conv" => "conv_pw",
        "expand_bn" => "bn1",
        "bn" => "bn2",
        "project_conv" => "conv_pwl",
        "project_bn" => "bn3",
        _ => return None,
    };
    Some(format!("blocks.{stage}.{block}.{part}"))
}

/// `efficientnet-lite-pytorch`, whose blocks are numbered from the first to the last: `block2a_dwconv` is
/// `_blocks.1._depthwise_conv`. `depths` are the blocks of each stage.
pub(super) fn efficientnet_lite(depths: &[usize], layer: &str) -> Option<String> {
    let whole = match layer {
        "stem_conv" => "_conv_stem",
        "stem_bn" => "_bn0",
        "top_conv" => "_conv_head",
        "top_bn" => "_bn1",
        "predictions" => "_fc",
        _ => "",
    };
    if !whole.is_empty() {
        return Some(whole.to_owned());
    }
    let (stage, block, part) = stage_and_block(layer)?;
    let part = match part {
        "expand_conv" => "_expand_conv",
        "expand_bn" => "_bn0",
        "dwconv" => "_depthwise_conv",
        "bn" => "_bn1",
        "project_conv" => "_project_conv",
        "project_bn" => "_bn2",
        _ => return None,
    };
    let number = depths.get(..stage)?.iter().sum::<usize>() + block;
    Some(format!("_blocks.{number}.{part}"))
}

/// timm's `tf_mobilenetv3_large_100` and `tf_mobilenetv3_small_100`: with this number of blocks in each stage,
/// `expanded_conv_1_depthwise` is `blocks.1.0.conv_dw`.
pub(super) fn mobilenet_v3(stages: &[usize], layer: &str) -> Option<String> {
    let last = stages.len();
    match layer {
        "conv" => return Some("conv_stem".to_owned()),
        "conv_bn" => return Some("bn1".to_owned()),
        "conv_1" => return Some(format!("blocks.{last}.0.conv")),
        "conv_1_bn" => return Some(format!("blocks.{last}.0.bn1")),
        "conv_2" => return Some("conv_head".to_owned()),
        "logits" => return Some("classifier".to_owned()),
        _ => {}
    }
    let rest = layer.strip_prefix("expanded_conv_")?;
    let (number, part) = match rest.split_once('_') {
        Some((number, part)) if number.bytes().all(|byte| byte.is_ascii_digit()) => (number.parse().ok()?, part),
        _ => (0, rest),
    };
    let part = match part {
        "depthwise" => "conv_dw",
        "squeeze_excite_conv" => "se.conv_reduce",
        "squeeze_excite_conv_1" => "se.conv_expand",
        "depthwise_bn" if number == 0 => "bn1",
        "project" if number == 0 => "conv_pw",
        "project_bn" if number == 0 => "bn2",
        "expand" => "conv_pw",
        "expand_bn" => "bn1",
        "depthwise_bn" => "bn2",
        "project" => "conv_pwl",
        "project_bn" => "bn3",
        _ => return None,
    };
    let mut block: usize = number;
    for (stage, &blocks) in stages.iter().enumerate() {
        if block < blocks {
            return Some(format!("blocks.{stage}.{block}.{part}"));
        }
        block -= blocks;
    }
    None
}

/// timm's `convnext_tiny` to `convnext_xlarge`: `convnext_tiny_stage_0_block_1_pointwise_conv_1` is `stages.0.blocks.1.mlp.fc1`.
pub(super) fn convnext(layer: &str) -> Option<String> {
    // The last layer without the top, which Keras names automatically.
    if layer.starts_with("layer_normalization") {
        return Some("head.norm".to_owned());
    }
    let rest = layer.strip_prefix("convnext_")?.split_once('_')?.1;
    match rest {
        "stem_conv" => return Some("stem.0".to_owned()),
        "stem_layernorm" => return Some("stem.1".to_owned()),
        "head_layernorm" => return Some("head.norm".to_owned()),
        "head_dense" => return Some("head.fc".to_owned()),
        _ => {}
    }
    if let Some(rest) = rest.strip_prefix("downsampling_") {
        let (part, number) = rest.rsplit_once('_')?;
        let part = match part {
            "layernorm" => 0,
            "conv" => 1,
            _ => return None,
        };
        return Some(format!("stages.{}.downsample.{part}", number.parse::<usize>().ok()? + 1));
    }
    let (stage, rest) = rest.strip_prefix("stage_")?.split_once("_block_")?;
    let (block, part) = rest.split_once('_')?;
    let part = match part {
        "depthwise_conv" => ".conv_dw",
        "layernorm" => ".norm",
        "pointwise_conv_1" => ".mlp.fc1",
        "pointwise_conv_2" => ".mlp.fc2",
        // Its `gamma` is a tensor of the block itself.
        "layer_scale" => "",
        _ => return None,
    };
    Some(format!("stages.{stage}.blocks.{block}{part}"))
}

/// Stage, block and part of a layer of an EfficientNet: `block2a_dwconv` is part `dwconv` of block 0 in stage 1.
fn stage_and_block(layer: &str) -> Option<(usize, usize, &str)> {
    let (block, part) = layer.strip_prefix("block")?.split_once('_')?;
    let letter = block.chars().last().filter(char::is_ascii_lowercase)?;
    let stage: usize = block.strip_suffix(letter)?.parse().ok()?;
    Some((stage.checked_sub(1)?, letter as usize - 'a' as usize, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_keras_have_modules_of_pytorch() {
        let large = |layer: &str| mobilenet_v3(&[1, 2, 3, 4, 2, 3], layer);
        let lite = |layer: &str| efficientnet_lite(&[1, 2, 2, 3, 3, 4, 1], layer);
        for (found, expected) in [
            (efficientnet("block1a_bn"), "blocks.0.0.bn1"),
            (efficientnet("block7a_project_conv"), "blocks.6.0.conv_pwl"),
            (large("expanded_conv_project"), "blocks.0.0.conv_pw"),
            (large("expanded_conv_14_squeeze_excite_conv_1"), "blocks.5.2.se.conv_expand"),
            (large("conv_1"), "blocks.6.0.conv"),
            (lite("block3b_expand_conv"), "_blocks.4._expand_conv"),
            (convnext("convnext_tiny_downsampling_conv_0"), "stages.1.downsample.1"),
            (convnext("convnext_tiny_stage_3_block_2_layer_scale"), "stages.3.blocks.2"),
        ] {
            assert_eq!(found.as_deref(), Some(expected));
        }
        assert_eq!((large("expanded_conv_15_project"), efficientnet("normalization")), (None, None));
    }
}
