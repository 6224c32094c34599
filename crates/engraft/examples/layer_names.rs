//! Where to begin fine-tuning: layers by number and by name.

#[path = "functional_vgg16.rs"]
#[expect(dead_code, reason = "only its model is wanted")]
mod functional_vgg16;

/// The name of layer 15 of the VGG16; its input and the augmentation are layers 0 and 1.
pub(crate) fn name() -> engraft::Result<String> {
    let (_, base) = functional_vgg16::model("none")?;
    Ok(base.layers()[15].name().to_owned())
}

fn main() -> engraft::Result<()> {
    println!("{}", name()?);
    Ok(())
}
