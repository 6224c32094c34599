//! Finds the name of a layer by its index, to choose where fine-tuning starts.

#[path = "functional_vgg16.rs"]
#[expect(dead_code, reason = "only its model is wanted")]
mod functional_vgg16;

/// The name of layer 15 of the base. Layer 0 is the input, layer 1 the augmentation.
pub(crate) fn name() -> engraft::Result<String> {
    let (_, base) = functional_vgg16::model("none")?;
    Ok(base.layers()[15].name().to_owned())
}

fn main() -> engraft::Result<()> {
    println!("{}", name()?);
    Ok(())
}
