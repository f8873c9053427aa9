//! Container images read from disk and ISO 9660 images written in process
