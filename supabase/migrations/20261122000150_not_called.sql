-- Of databases from before the files above were arranged: nobody calls these any more.
drop function if exists open_messages(bigint, integer, integer);
drop function if exists open_of(hunts);
