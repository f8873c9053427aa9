//! Integration tests: the test host, its cases and payload tests
