-- depends_on: {{ ref('int_session_spans') }}
-- The devices whose sessions have to be inferred anew: those with an event on a touched date, now or before, that have,
-- whenever that was, events without a session id or a session with a gap that may end it.
{% set spans = ref('int_session_spans') %}
{% set is_touched -%}
    {% if is_full_build() -%}
        true
    {%- else -%}
        user_pseudo_id in (
            select user_pseudo_id from {{ spans }}
            where {{ is_touched_event_date() }}
            union distinct
            select user_pseudo_id from ops.previous_session_spans
        )
    {%- endif %}
{%- endset %}
select user_pseudo_id
from {{ spans }}
where session_id is null and {{ is_touched }}
union distinct
select max(user_pseudo_id) as user_pseudo_id
from {{ spans }}
where session_id is not null and {{ is_touched }}
group by session_id
having max(last_micros) - min(first_micros) > {{ longest_gap_micros() }}
{% if not is_full_build() %}
    union distinct
    select user_pseudo_id
    from intermediate.int_inferred_sessions
    where {{ is_touched }}
{% endif %}
