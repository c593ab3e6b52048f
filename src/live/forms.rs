//! The forms in which clients want events, each kept once however many clients want it.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::domain::github::sampling::Form;

/// A form that all who asked for the same share: what is written in it is found again by its number.
#[derive(Debug, Clone)]
pub struct SharedForm(Arc<Numbered>);

#[derive(Debug)]
struct Numbered {
    number: u64,
    form: Form,
}

impl SharedForm {
    /// Whether more than one has it at present.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// No other form of the same feed ever has it.
    pub(super) fn number(&self) -> u64 {
        self.0.number
    }
}

impl Deref for SharedForm {
    type Target = Form;

    fn deref(&self) -> &Form {
        &self.0.form
    }
}

/// The forms that clients have. One that nobody has any more is forgotten, so there are at most as many as clients.
#[derive(Debug, Default)]
pub(super) struct Forms(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    forms: HashMap<Form, Weak<Numbered>>,
    last: u64,
    /// At so many entries those that nobody has are removed.
    sweep_at: usize,
}

/// So few forms are not worth a look.
const FEW: usize = 64;

impl Forms {
    /// The one that equals `form`.
    pub fn share(&self, form: Form) -> SharedForm {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = known.forms.get(&form).and_then(Weak::upgrade) {
            return SharedForm(shared);
        }
        if known.forms.len() >= known.sweep_at.max(FEW) {
            known.forms.retain(|_, shared| shared.strong_count() > 0);
            known.sweep_at = 2 * known.forms.len();
        }
        known.last += 1;
        let shared = Arc::new(Numbered { number: known.last, form: form.clone() });
        known.forms.insert(form, Arc::downgrade(&shared));
        SharedForm(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::github::sampling::Fields;

    fn list(path: &str) -> Form {
        Form::List(Fields::new(vec![path.to_owned()]))
    }

    #[test]
    fn equal_forms_are_one_and_different_ones_never_share_a_number() {
        let forms = Forms::default();
        let map = forms.share(Form::Map(Fields::new(vec!["event.id".to_owned()])));
        let [first, again, other] = ["event.id", "event.id", "event"].map(|path| forms.share(list(path)));
        assert_eq!(first.number(), again.number());
        assert!(first.number() != other.number() && first.number() != map.number());
        let before = first.number();
        drop((first, again));
        assert!(forms.share(list("event.id")).number() > before, "a number would be met again in old events");
    }

    #[test]
    fn what_nobody_has_is_forgotten() {
        let forms = Forms::default();
        let kept = forms.share(list("kept"));
        for index in 0..10_000 {
            forms.share(list(&index.to_string()));
        }
        assert!(forms.0.lock().unwrap().forms.len() <= 2 * FEW);
        assert_eq!(forms.share(list("kept")).number(), kept.number());
    }
}
