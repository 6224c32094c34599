//! The models of the examples have the expected layers and numbers of parameters.

mod programs;

#[test]
fn every_example_has_its_counts() {
    for (program, trainable, frozen) in [
        ("program1", 165_738_309, 0),
        ("program2", 151_023_621, 14_714_688),
        ("program3", 158_103_045, 7_635_264),
        ("program5", 151_023_621, 14_714_688),
        ("program6", 158_103_045, 7_635_264),
        ("program7", 165_738_309, 0),
    ] {
        let (model, base) = programs::build(program);
        let counted: usize = model.trainable_weights().iter().map(|weight| weight.count()).sum();
        assert_eq!((counted, model.count_params() - counted), (trainable, frozen), "{program}");
        assert_eq!(base.count_params(), 14_714_688, "{program}");
    }
}

#[test]
fn layer_15_ends_the_fourth_block() {
    assert_eq!(programs::layer_names::name().unwrap(), "block4_pool");
}

#[test]
fn freezing_through_the_base_changes_the_model_at_once() {
    let (model, base) = programs::build("program1");
    assert!(model.summary().to_string().contains(" Non-trainable params: 0 "));
    base.set_trainable(false);
    assert!(model.summary().to_string().contains(" Non-trainable params: 14,714,688 (56.13 MB)"));
}
