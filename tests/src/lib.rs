//! Black-box proof of the product: everything here goes over HTTP and the command line, and nothing private is imported.
