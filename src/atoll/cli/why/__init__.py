"""Why a request ended as it did: what is known of it, joined, and rules that name the cause."""
