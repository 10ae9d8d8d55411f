{#- A login id; null for what shops and tag managers send while nobody is logged in, which would make one person of all
    their visitors. -#}
{% macro login_id(column) -%}
    case
        when lower(trim({{ column }})) not in (
            {%- for placeholder in var('placeholder_user_ids') %}'{{ placeholder }}'{{ ', ' if not loop.last }}{% endfor -%}
        ) then {{ not_set_to_null(column) }}
    end
{%- endmacro %}

{#- One key per person (`int_identified_sessions`): 'user|' and the login id, or 'device|' and the device alone. -#}
{% macro user_key(user_id, user_pseudo_id) -%}
    case
        when {{ user_id }} is not null then 'user|' || {{ user_id }}
        else 'device|' || {{ user_pseudo_id }}
    end
{%- endmacro %}

{#- The login id in a user key, null for a device alone. -#}
{% macro user_id_of_key(key) -%}
    case when {{ starts_with_text(key, "'user|'") }} then substr({{ key }}, 6) end
{%- endmacro %}
