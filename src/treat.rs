//! Plan × frame → what may leave. (hot)

/// A frame that has been through the treatment, or that the gateway made itself. Sockets accept nothing else (I1).
pub struct Outgoing {
    text: String,
}

impl Outgoing {
    /// The frame's text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Gives the text away to be written.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// A billing fact: the treated (already pseudonymous) payload of a transaction message that went through. The journal keeps it;
/// charging sessions are assembled from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Which message: `StartTransaction`, `StartTransactionResponse`, `StopTransaction`, `MeterValues`, `TransactionEvent`, `TransactionEventResponse`.
    pub action: &'static str,
    /// The frame's message id, as the CSMS knows it.
    pub message_id: String,
    /// The treated payload, JSON.
    pub payload: String,
}
