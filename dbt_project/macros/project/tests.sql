{% test unique_combination(model, columns) %}
select {{ columns | join(', ') }}
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}

{% test between(model, column_name, at_least=none, at_most=none) %}
select {{ column_name }}
from {{ model }}
where
    false
    {% if at_least is not none %}or {{ column_name }} < {{ at_least }}{% endif %}
    {% if at_most is not none %}or {{ column_name }} > {{ at_most }}{% endif %}
{% endtest %}

{% test credits_add_up(model) %}
select purchase_id
from {{ model }}
group by purchase_id
having
    {% for credit in ['first_click', 'last_click', 'linear', 'position_based', 'time_decay'] %}
        abs(sum({{ credit }}_credit) - 1) > 0.000000001{{ ' or' if not loop.last }}
    {% endfor %}
{% endtest %}
