{#- What visitors have agreed to, as Consent Mode tells it with each event. A state, at whatever level, is the later of two
    moments: the last Yes and the last No. -#}

{% macro consent_kinds() -%}
    {{ return(['analytics', 'ads']) }}
{%- endmacro %}

{#- Consent as exported. What is neither Yes nor No ('Unset', null without Consent Mode) says nothing: it makes no Yes. -#}
{% macro consent(column) -%}
    case lower({{ column }}) when 'yes' then true when 'no' then false end
{%- endmacro %}

{#- When consent was last given and last refused, in a query that groups events. A Yes is a visitor's own doing; a No
    counts whoever sends it. -#}
{% macro consent_moments(event_at, is_background) -%}
    {% for kind in consent_kinds() -%}
        max(case when has_{{ kind }}_consent and not {{ is_background }} then {{ event_at }} end)
            as {{ kind }}_granted_at,
        max(case when not has_{{ kind }}_consent then {{ event_at }} end)
            as {{ kind }}_denied_at{{ ',' if not loop.last }}
    {% endfor -%}
{%- endmacro %}

{#- The state of each kind and when it was said, from such moments: the later one counts, and of two at once the No. -#}
{% macro consent_columns(relation) -%}
    {% for kind in consent_kinds() -%}
        {%- set granted_at, denied_at = relation ~ '.' ~ kind ~ '_granted_at', relation ~ '.' ~ kind ~ '_denied_at' -%}
        case
            when {{ denied_at }} >= {{ granted_at }} then false
            when {{ granted_at }} is not null then true
            when {{ denied_at }} is not null then false
        end as has_{{ kind }}_consent,
        case
            when {{ denied_at }} >= {{ granted_at }} then {{ denied_at }}
            else coalesce({{ granted_at }}, {{ denied_at }})
        end as {{ kind }}_consent_at{{ ',' if not loop.last }}
    {% endfor -%}
{%- endmacro %}
