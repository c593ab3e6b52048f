//! Spreads the events of one poll over the time until the next, so that front ends see a steady flow.

use std::time::Duration;

/// Events are released in steps of this length.
const TICK: Duration = Duration::from_millis(250);

/// When to release how many of `events` within `span`: at least one slice, all of them before its end.
pub fn slices(events: usize, span: Duration) -> impl Iterator<Item = (Duration, usize)> {
    let ticks = usize::try_from(span.as_millis() / TICK.as_millis()).unwrap_or(usize::MAX).max(1);
    // Rounded up, so that the first goes out at once.
    let released = move |ticks_done: usize| (events * ticks_done).div_ceil(ticks);
    let slice = move |tick: usize| {
        let at = TICK * u32::try_from(tick).unwrap_or(u32::MAX);
        (at, released(tick + 1) - released(tick))
    };
    (0..ticks).map(slice).filter(|(at, count)| *count > 0 || at.is_zero())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_poll_is_released_evenly_from_the_start() {
        let of = |events, seconds| slices(events, Duration::from_secs(seconds)).collect::<Vec<_>>();
        let ms = Duration::from_millis;
        assert_eq!(of(8, 1), [(ms(0), 2), (ms(250), 2), (ms(500), 2), (ms(750), 2)]);
        assert_eq!(of(2, 1), [(ms(0), 1), (ms(500), 1)]);
        assert_eq!(of(0, 60), [(ms(0), 0)], "rejected elements go out without events too");
        assert_eq!(of(300, 0), [(ms(0), 300)]);
    }

    proptest! {
        #[test]
        fn every_event_is_released_before_the_next_poll(events in 0_usize..400, millis in 250_u64..3_600_000) {
            let span = Duration::from_millis(millis);
            let slices: Vec<_> = slices(events, span).collect();
            prop_assert_eq!(slices.iter().map(|(_, count)| count).sum::<usize>(), events);
            prop_assert!(slices.iter().all(|(at, _)| *at < span));
            let counts = slices.iter().map(|(_, count)| *count);
            let even = events.div_ceil(usize::try_from(millis / 250).unwrap());
            prop_assert!(counts.max() <= Some(even.max(1)));
        }
    }
}
