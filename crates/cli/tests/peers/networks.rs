//! A network of each family whose weights Keras wrote: the program trains on it, and Keras finds the network in the result.

use crate::python::Peers;
use crate::support::Place;

#[test]
fn networks_of_keras_lend_their_weights_and_deeper_ones_are_refused() {
    let Some(peers) = Peers::find() else { return };
    let place = Place::with_photos(2);
    peers.agree("networks_write.py", &[&peers.path("")]);
    let lines = |name: &str| std::fs::read_to_string(peers.path(name)).unwrap();
    let train = |backbone: &str, size: &str, file: &str, name: &str| {
        let arguments = format!(
            "train photos --backbone {backbone} --image-size {size} --epochs 1 --batch-size 4 --validation-split 0 -o {name}.keras"
        );
        place.run_with(&arguments, |command| command.arg("--weights").arg(peers.path(file)))
    };
    let networks = lines("networks.txt");
    assert_eq!(networks.lines().count(), 12);
    for line in networks.lines() {
        let [file, backbone, size] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        train(backbone, size, file, file.split('.').next().unwrap()).succeeds();
    }
    peers.agree("networks_open.py", &[&peers.path(""), &place.path("")]);

    let others = lines("others.txt");
    assert_eq!(others.lines().count(), 6);
    for line in others.lines() {
        let (file, backbone) = line.split_once(' ').unwrap();
        let refusal = format!("which {backbone} doesn't have");
        train(backbone, "32", file, "refused").fails(1, &[&format!("weights of {backbone}"), &refusal]);
    }
}
