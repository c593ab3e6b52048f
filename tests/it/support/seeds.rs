//! Seeds of a state that never has one.

/// Implements `Seeds` for a state of a test in which nobody seeds.
macro_rules! never_seeded {
    ($state:ty) => {
        #[async_trait::async_trait]
        impl pulsehub::state::seed::Seeds for $state {
            fn require_seeds(&self) {}

            async fn claim_seed(
                &self,
                _year: i16,
                _again: bool,
                _now: i64,
            ) -> Result<pulsehub::state::seed::Claimed, pulsehub::state::StateError> {
                Ok(pulsehub::state::seed::Claimed::NotNeeded)
            }

            async fn seed(
                &self,
                _lease: &pulsehub::state::seed::SeedLease,
                _chunk: &pulsehub::state::seed::SeedChunk,
                _now: i64,
            ) -> Result<(), pulsehub::state::StateError> {
                Err(pulsehub::state::StateError::SeedLost)
            }

            async fn renew_seed(
                &self,
                _lease: &pulsehub::state::seed::SeedLease,
                _now: i64,
            ) -> Result<(), pulsehub::state::StateError> {
                Err(pulsehub::state::StateError::SeedLost)
            }

            async fn finish_seed(
                &self,
                _lease: &pulsehub::state::seed::SeedLease,
                _own: &pulsehub::state::Base,
                _open: &[pulsehub::event::Day],
                _now: i64,
            ) -> Result<(), pulsehub::state::StateError> {
                Err(pulsehub::state::StateError::SeedLost)
            }

            async fn release_seed(
                &self,
                _lease: &pulsehub::state::seed::SeedLease,
            ) -> Result<(), pulsehub::state::StateError> {
                Ok(())
            }
        }
    };
}

pub(crate) use never_seeded;
