//! Learning rate schedules against Keras: rates at and around every edge, and serialized configurations.

use engraft_nn::LearningRate;

/// The error allowed, relative to the rate itself. Keras computes rates in f32, engraft in f64. Most rates have the error of a
/// few f32 roundings; the error of a power grows with its exponent.
const RELATIVE: f64 = 1e-6;

/// The error allowed in addition, relative to the largest rate of the schedule: two f32 rounding errors of 6e-8. Near the end of
/// a decay, `1 + cos` or `1 - iteration / decay_steps` nearly cancels: these errors are large compared with the rate itself.
const CANCELLATION: f64 = 1.2e-7;

#[test]
fn rates_are_those_of_keras() {
    let cases = engraft_golden::cases("schedules");
    assert!(cases.len() >= 21, "only {} cases were found", cases.len());
    for case in &cases {
        let schedule: LearningRate = serde_json::from_value(case.get("schedule").clone()).unwrap();
        let iterations = case.get("iterations").as_array().unwrap();
        let (arrays, rates) = (case.arrays(), case.get("rates").as_str().unwrap());
        let expected = arrays.get(rates).data();
        assert_eq!(iterations.len(), expected.len(), "{}", case.name());
        let largest = expected.iter().fold(0.0, |largest: f64, &rate| largest.max(rate.into()));
        for (iteration, &expected) in iterations.iter().zip(expected) {
            let (found, expected) = (schedule.at(iteration.as_u64().unwrap()), f64::from(expected));
            let tolerance = RELATIVE * expected + CANCELLATION * largest;
            assert!((found - expected).abs() <= tolerance, "{} at {iteration}: {found}, not {expected}", case.name());
        }
    }
}

#[test]
fn configs_are_those_of_keras() {
    for case in engraft_golden::cases("schedules") {
        let schedule: LearningRate = serde_json::from_value(case.get("schedule").clone()).unwrap();
        assert_eq!(&serde_json::to_value(&schedule).unwrap(), case.get("schedule"), "{}", case.name());
    }
}
