-- grpc-status, when the answer has it in its head and is not 0: a call that failed before its first message. Of these codes
-- the service is the cause, as a 5xx is: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
ALTER TABLE read_requests ADD COLUMN IF NOT EXISTS Grpc UInt8;
