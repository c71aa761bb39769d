//! Black-box proof of the product: starts the real `formledger` binary and speaks to it over HTTP and the command line.
//! Used by the test binaries in `tests/tests/`. Nothing of the product is imported here, so whatever passes works from outside.

pub mod bucket;
pub mod client;
pub mod credentials;
pub mod definitions;
pub mod feed;
pub mod installation;
pub mod program;
pub mod server;
pub mod sse;
pub mod stage;
pub mod tampering;
pub mod va_forms;
pub mod wait;

pub use bucket::Bucket;
pub use client::{Answer, Client};
pub use feed::Feed;
pub use formledger_test_cluster::disk;
pub use installation::{Finished, Installation};
pub use server::Server;
pub use stage::Stage;
