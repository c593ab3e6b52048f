//! What clients of the stream need of an event: what they ask for it by, and the message that it is sent in.

use super::LiveEvent;
use crate::domain::github::facets::Facets;
use crate::live::{Frame, SharedForm};

impl LiveEvent {
    /// What it can be asked for by; read when the first client needs it.
    pub fn facets(&self) -> &Facets {
        self.facets.get_or_init(|| Facets::of(&self.sample))
    }

    /// The event as a message of the stream, written once for all clients that want the same form.
    pub fn message(&self, form: &SharedForm) -> Frame {
        self.frame_in("stream", form, |event, data| {
            format!(r#"{{"type":"event","cursor":"{}","data":{data}}}"#, event.cursor)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Feed;
    use super::super::tests::batch;
    use crate::domain::github::sampling::{Fields, Form};

    #[test]
    fn a_message_has_the_cursor_around_what_sampling_sends() {
        let feed = Feed::default();
        feed.publish(batch(7, 1..2));
        let event = feed.read(&mut 0, 1).events.remove(0);
        let fields = feed.share(Form::Map(Fields::new(vec!["event.id".to_owned()])));
        let message = event.message(&fields);
        assert_eq!(message.as_str(), r#"{"type":"event","cursor":"7.0","data":{"event.id":"1"}}"#);
        let whole = feed.share(Form::Whole);
        let expected =
            format!(r#"{{"type":"event","cursor":"7.0","data":{}}}"#, event.frame(&whole).as_str());
        assert_eq!(event.message(&whole).as_str(), expected);
    }
}
