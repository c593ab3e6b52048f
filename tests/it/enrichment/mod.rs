//! What events do not say of their pull requests: asked of a GraphQL API that answers as GitHub's does, or fails as it
//! does.

mod again;
mod answers;
mod engines;
mod failures;
mod github;
mod latency;
mod recorded;
