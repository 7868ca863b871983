"""What several tests share: virtual time, a scripted engine, real processes."""
