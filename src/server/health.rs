//! Health, as load balancers expect it.

/// Answers 200 `OK`, exactly that.
pub async fn health() -> &'static str {
    "OK"
}
