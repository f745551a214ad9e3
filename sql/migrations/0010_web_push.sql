-- Web Push: a subscription is an address of three parts, its endpoint and two keys. The endpoint is the token of the
-- device; what a batch carries is all three, one space between them.

create function push_address(provider text, token text, keys jsonb) returns text
language sql immutable parallel safe
return case when provider = 'webpush' then token || ' ' || (keys ->> 'p256dh') || ' ' || (keys ->> 'auth') else token end;

create function address_token(provider text, address text) returns text
language sql immutable parallel safe
return case when provider = 'webpush' then split_part(address, ' ', 1) else address end;

-- What the keys of raw recipients are worth after the push: nothing, and they are secrets of browsers.
create function address_tokens(provider text, addresses text) returns text
language sql immutable parallel safe
return case when provider = 'webpush' then regexp_replace(addresses, ' [^\n]*', '', 'g') else addresses end;

-- Host and port, as the address spells them: what one connection can serve, and what a service asks to be spared.
create function address_origin(address text) returns text
language sql immutable parallel safe
return lower(substring(address from '^https://([^/?# ]+)'));
