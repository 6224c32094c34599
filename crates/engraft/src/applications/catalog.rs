//! The list of all networks.

use super::{
    Architecture, densenet, efficientnet_lite, inception_v3, nasnet, resnet, resnet_torchvision, resnet_v2, vgg16,
    vgg19, xception,
};

/// Every network, ordered by family and size.
pub(super) static ALL: &[&Architecture] = &[
    &efficientnet_lite::LITE0,
    &vgg16::VGG16,
    &vgg19::VGG19,
    &resnet::RESNET50,
    &resnet::RESNET101,
    &resnet::RESNET152,
    &resnet_torchvision::RESNET18,
    &resnet_torchvision::RESNET34,
    &resnet_torchvision::RESNET50,
    &resnet_v2::RESNET50_V2,
    &resnet_v2::RESNET101_V2,
    &resnet_v2::RESNET152_V2,
    &densenet::DENSENET121,
    &densenet::DENSENET169,
    &densenet::DENSENET201,
    &xception::XCEPTION,
    &inception_v3::INCEPTION_V3,
    &nasnet::NASNET_MOBILE,
    &nasnet::NASNET_LARGE,
];
