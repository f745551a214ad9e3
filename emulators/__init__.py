"""Push services as programs: APNs and FCM on loopback with scripted faults, for tests, demos and users' own CI."""
