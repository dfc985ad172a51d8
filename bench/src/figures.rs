//! Medians and quantiles.

/// The one in the middle, or between the two in the middle; 0 of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

/// The least value that so large a share of all does not exceed; 0 of nothing. A share of 0.99 of up to 100 values is the
/// greatest but one at most.
pub fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let place = (values.len() as f64 * share).ceil() as usize;
    values.get(place.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }

    #[test]
    fn a_quantile_is_exceeded_by_no_more_than_its_rest() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(hundred.clone(), 0.99), 99.0);
        assert_eq!(quantile(hundred, 1.0), 100.0);
        assert_eq!(quantile(vec![7.0], 0.99), 7.0);
        assert_eq!(quantile(Vec::new(), 0.99), 0.0);
    }
}
