"""Push services as programs: APNs, FCM, Web Push and HMS on loopback, with scripted faults, for tests and demos."""
