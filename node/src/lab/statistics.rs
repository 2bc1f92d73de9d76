//! Means and 95 % intervals by Student's t.

/// A mean and half the width of its interval, if there are two values at least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// What is to be added and taken away for the 95 % interval.
    pub half: Option<f64>,
}

/// Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom (any table of it).
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];
/// Beyond the table: a little too wide up to infinity, where it would be 1.960.
const T_BEYOND: f64 = 2.042;

impl Interval {
    /// Of these values; none if there are none.
    pub fn of(values: &[f64]) -> Option<Interval> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        if n == 1 {
            return Some(Interval { mean, half: None });
        }
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        let t = T.get(n - 2).copied().unwrap_or(T_BEYOND);
        Some(Interval { mean, half: Some(t * (variance / n as f64).sqrt()) })
    }

    /// Of the differences of values that belong together; those that lack one of the two are left out.
    pub fn of_pairs(values: &[Option<f64>], against: &[Option<f64>]) -> Option<Interval> {
        let pairs = values.iter().zip(against);
        let differences: Vec<f64> = pairs.filter_map(|(a, b)| Some((*a)? - (*b)?)).collect();
        Interval::of(&differences)
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let half = self.half.map_or(String::new(), |half| format!(" ± {half:.4}"));
        write!(f, "{:+.4}{half}", self.mean)
    }
}

#[test]
fn an_interval_by_hand() {
    assert_eq!(Interval::of(&[]), None);
    assert_eq!(Interval::of(&[2.0]), Some(Interval { mean: 2.0, half: None }));
    // Variance 1, n = 3: 4.303 / sqrt(3).
    let three = Interval::of(&[1.0, 2.0, 3.0]).unwrap();
    assert!((three.mean - 2.0).abs() < 1e-12 && (three.half.unwrap() - 2.484_34).abs() < 1e-4);
    let pairs =
        Interval::of_pairs(&[Some(2.0), None, Some(5.0)], &[Some(1.0), Some(9.0), Some(3.0)]);
    assert_eq!(pairs.map(|pairs| pairs.mean), Some(1.5));
    assert_eq!(pairs.unwrap().to_string(), "+1.5000 ± 6.3530");
}
