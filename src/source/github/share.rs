//! How a budget is shared out among feeds that want more than it bears: pure, weighted max-min fairness.
//!
//! Nobody gets more than they want, what they leave goes to the others by their weights, and all of the budget is used
//! while anybody still wants something (Bertsekas and Gallager, Data Networks, section 6.5.2).

/// What a feed asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// Requests a second that it wants.
    pub rate: f64,
    /// How much it matters beside the others; above 0.
    pub weight: f64,
}

/// Requests a second for each demand, in their order, together at most `total`.
pub fn share(total: f64, demands: &[Demand]) -> Vec<f64> {
    let mut granted = vec![0.0; demands.len()];
    let mut order: Vec<usize> = (0..demands.len()).collect();
    // Those that are content with the least for their weight come first; what they leave is shared by the rest.
    let modesty = |index: usize| demands[index].rate / demands[index].weight;
    order.sort_by(|&a, &b| modesty(a).total_cmp(&modesty(b)));
    let mut left = total.max(0.0);
    let mut weights: f64 = demands.iter().map(|demand| demand.weight).sum();
    for index in order {
        let Demand { rate, weight } = demands[index];
        let fair = if left.is_finite() { left * (weight / weights).min(1.0) } else { rate };
        granted[index] = rate.min(fair).max(0.0);
        left -= granted[index];
        weights -= weight;
    }
    granted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shared(total: f64, demands: &[(f64, f64)]) -> Vec<f64> {
        let demands: Vec<_> = demands.iter().map(|&(rate, weight)| Demand { rate, weight }).collect();
        share(total, &demands)
    }

    #[test]
    fn what_a_modest_one_leaves_goes_to_the_others_by_weight() {
        assert_eq!(shared(10.0, &[(1.0, 1.0), (2.0, 1.0)]), [1.0, 2.0]);
        assert_eq!(shared(4.0, &[(9.0, 1.0), (9.0, 1.0)]), [2.0, 2.0]);
        assert_eq!(shared(4.0, &[(9.0, 3.0), (9.0, 1.0)]), [3.0, 1.0]);
        assert_eq!(shared(4.0, &[(9.0, 1.0), (0.5, 8.0)]), [3.5, 0.5]);
        assert_eq!(shared(f64::INFINITY, &[(9.0, 1.0), (0.5, 8.0)]), [9.0, 0.5]);
        assert_eq!(shared(0.0, &[(9.0, 1.0)]), [0.0]);
        assert!(shared(1.0, &[]).is_empty());
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_wanted_and_nothing_is_wasted(
            total in 0.0_f64..10.0,
            demands in proptest::collection::vec((0.0_f64..5.0, 0.1_f64..20.0), 1..60),
        ) {
            let granted = shared(total, &demands);
            let sum: f64 = granted.iter().sum();
            let wanted: f64 = demands.iter().map(|(rate, _)| rate).sum();
            prop_assert!(granted.iter().zip(&demands).all(|(granted, (rate, _))| granted <= rate));
            prop_assert!((sum - wanted.min(total)).abs() < 1e-9, "{sum} of {total} for {wanted}");
        }

        #[test]
        fn nobody_who_wants_more_has_less_for_its_weight_than_another(
            total in 0.0_f64..10.0,
            demands in proptest::collection::vec((0.0_f64..5.0, 0.1_f64..20.0), 2..20),
        ) {
            let granted = shared(total, &demands);
            let most = granted.iter().zip(&demands).map(|(granted, (_, weight))| granted / weight);
            let most = most.fold(0.0, f64::max);
            for (granted, (rate, weight)) in granted.iter().zip(&demands) {
                prop_assert!(granted + 1e-9 >= *rate || granted / weight + 1e-9 >= most);
            }
        }
    }
}
