//! Names of Pulsar topics: `github-events`, `tenant/namespace/topic`, or in full.

/// A topic's name in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicName {
    domain: String,
    tenant: String,
    namespace: String,
    topic: String,
}

impl TopicName {
    /// Reads any of the three forms; `None` where it is none of them.
    pub fn parse(name: &str) -> Option<Self> {
        let (domain, rest) = name.split_once("://").unwrap_or(("persistent", name));
        let (tenant, namespace, topic) = match rest.splitn(3, '/').collect::<Vec<_>>()[..] {
            [topic] if !name.contains("://") => ("public", "default", topic),
            [tenant, namespace, topic] => (tenant, namespace, topic),
            _ => return None,
        };
        let known = ["persistent", "non-persistent"].contains(&domain);
        let whole = known && [tenant, namespace, topic].iter().all(|part| !part.is_empty());
        whole.then(|| Self {
            domain: domain.to_owned(),
            tenant: tenant.to_owned(),
            namespace: namespace.to_owned(),
            topic: topic.to_owned(),
        })
    }

    /// The name in full.
    pub fn full(&self) -> String {
        format!("{}://{}/{}/{}", self.domain, self.tenant, self.namespace, self.topic)
    }

    /// The topic of the same namespace whose name has `suffix` at its end.
    pub fn with_suffix(&self, suffix: &str) -> Self {
        Self { topic: format!("{}{suffix}", self.topic), ..self.clone() }
    }

    /// The path segments below the admin API's root.
    pub fn segments(&self) -> [&str; 4] {
        [&self.domain, &self.tenant, &self.namespace, &self.topic]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_lie_in_the_default_namespace() {
        for (name, full) in [
            ("events", "persistent://public/default/events"),
            ("t/n/events", "persistent://t/n/events"),
            ("non-persistent://t/n/events", "non-persistent://t/n/events"),
            ("persistent://t/n/a/b", "persistent://t/n/a/b"),
        ] {
            assert_eq!(TopicName::parse(name).unwrap().full(), full);
        }
        let dead = TopicName::parse("events").unwrap().with_suffix("-dead-letter");
        assert_eq!(dead.full(), "persistent://public/default/events-dead-letter");
    }

    #[test]
    fn what_names_no_topic_is_refused() {
        for name in ["", "a/b", "persistent://a", "persistent://a/b", "queue://a/b/c", "persistent://a//c"] {
            assert_eq!(TopicName::parse(name), None, "{name}");
        }
    }
}
