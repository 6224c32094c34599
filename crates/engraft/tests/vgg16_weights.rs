//! Loads the ImageNet weights of VGG16 that `cargo xtask assets` downloads.

use std::path::Path;

use engraft::hub::{Hub, VGG16_NOTOP};
use engraft::prelude::*;

#[test]
fn the_real_weights_load_and_are_the_published_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/keras");
    if !folder.join(&*VGG16_NOTOP.name).exists() {
        eprintln!("SKIPPED: assets/keras/{} is missing; `cargo xtask assets` downloads it", VGG16_NOTOP.name);
        return;
    }
    // The file's bytes differ from Keras' file, so it must be accepted by its fingerprint. The mirror makes downloads fail.
    let mut hub = Hub::new(&folder, &folder);
    hub.mirror = Some("http://127.0.0.1:9".into());
    let inputs = Input::new([64, 64, 3]);
    let x = RandomFlip::horizontal().call(&inputs).unwrap();
    let base = vgg16().include_top(false).weights("imagenet").hub(hub).input_tensor(&x).build().unwrap();

    let values = |layer: &str, weight: usize| base.get_layer(layer).unwrap().weights()[weight].values().clone();
    // Known values of Keras' file, exact in f32.
    assert_eq!(values("block1_conv1", 0)[0], 0.429_470_57);
    assert_eq!(values("block1_conv1", 1)[25], 0.744_650_2);
    assert_eq!(values("block5_conv1", 0)[(3 * 512 + 63) * 512 + 269], -0.011_236_359);
    assert_eq!(values("block5_conv2", 1)[510], 0.235_172_26);
}
