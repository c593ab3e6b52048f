//! Stands in for the shared frames of the feed until these are merged.

use std::sync::Arc;

use super::{Feed, LiveEvent};
use crate::domain::github::sampling::Form;

pub type Frame = axum::extract::ws::Utf8Bytes;
pub type SharedForm = Arc<Form>;

impl Feed {
    pub fn share(&self, form: Form) -> SharedForm {
        Arc::new(form)
    }
}

impl LiveEvent {
    pub fn frame_in(
        &self,
        _: &'static str,
        form: &SharedForm,
        wrap: impl FnOnce(&Self, String) -> String,
    ) -> Frame {
        wrap(self, form.write(&self.sample)).into()
    }
}
