//! What the program says about the ImageNet weights of a network: their download, their verification, and what to do without
//! them.

use engraft::Error;
use engraft::applications::{Network, PublishedWeights, Weights};
use engraft::hub::{HubError, HubErrorKind, WeightFile};
use engraft::recipe::{Backbone, Recipe};

use crate::cache::size;
use crate::output::note;

/// Says that the weights of a recipe will be downloaded, that a file without a published checksum is checked otherwise, and what a
/// file is taken for.
pub(crate) fn announce(recipe: &Recipe) {
    let Recipe { backbone, image_size, .. } = *recipe;
    let network = Network::new(backbone.architecture()).weights(recipe.weights.clone());
    network.assumption().into_iter().for_each(|assumption| note(format_args!("note: {assumption}")));
    let (Weights::Imagenet, Some(PublishedWeights::File { file, is_fingerprinted })) =
        (&recipe.weights, backbone.published_weights(image_size))
    else {
        return;
    };
    if cfg!(feature = "download") && !backbone.is_at_hand(image_size) {
        let size = download_size(backbone, &file);
        note(format_args!(
            "Downloading the ImageNet weights of {backbone}, {size}; later runs find them on this machine"
        ));
    }
    unverified(&file, is_fingerprinted).into_iter().for_each(note);
}

/// Says what is checked instead of a published checksum; `None` if the file has one.
fn unverified(file: &WeightFile, is_fingerprinted: bool) -> Option<String> {
    let checked = match is_fingerprinted {
        true => "the SHA-256 of its arrays is compared with that of known weights",
        false => "only the names and the shapes of its arrays are compared with those of the network",
    };
    let name = &file.name;
    file.hash.is_none().then(|| format!("note: no checksum is published for {name}; {checked}"))
}

/// The size of the file with the weights of a backbone. If it isn't known, about four bytes for each parameter.
pub(crate) fn download_size(backbone: Backbone, file: &WeightFile) -> String {
    match file.bytes {
        Some(bytes) => size(bytes),
        None => format!("about {}", size(4 * backbone.architecture().parameters() as u64)),
    }
}

/// Adds what else to do to the error of weights that can't be found or downloaded; other errors stay.
pub(crate) fn advise(error: Error) -> Error {
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<HubError>());
    let is_missing =
        source.is_some_and(|source| matches!(source.kind(), HubErrorKind::NotFound | HubErrorKind::Network));
    match is_missing {
        true => error.hint(format_args!(
            "give weights that you have with --weights FILE, or choose --backbone {}, whose weights are part of the program",
            Backbone::EFFICIENTNET_LITE0
        )),
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engraft::hub::VGG16_NOTOP;

    #[test]
    fn what_replaces_a_checksum_is_said() {
        assert_eq!(unverified(&VGG16_NOTOP, true), None);
        let file = WeightFile { name: "m.h5".into(), hash: None, ..VGG16_NOTOP };
        let expected =
            "note: no checksum is published for m.h5; the SHA-256 of its arrays is compared with that of known weights";
        assert_eq!(unverified(&file, true).as_deref(), Some(expected));
        assert!(unverified(&file, false).is_some_and(|note| note.contains("only the names and the shapes")));
    }
}
